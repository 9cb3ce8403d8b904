declare module 'node-api-headers' {
  export const include_dir: string;
}
