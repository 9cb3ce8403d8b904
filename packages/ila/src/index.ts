export { type IlaReport, type IlaSelector, ila, selector } from './ila.js';
export type { IlaOptions } from './ila-options.js';
