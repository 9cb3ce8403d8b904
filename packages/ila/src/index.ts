export { type IlaOptions, type IlaReport, type IlaSelector, ila, selector } from './ila.js';
