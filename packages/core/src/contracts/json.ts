/** What JSON can carry: the state of a plugin and its options are of this type, so that every checkpoint is a plain file. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
