import { defineConfig } from 'tsup';

/** One build for every package: ESM, CJS and types from src/index.ts. */
export default defineConfig({
  entry: ['src/index.ts'],
  format: ['esm', 'cjs'],
  target: 'node20',
  platform: 'node',
  dts: true,
  clean: true,
  sourcemap: true,
  shims: true,
});
