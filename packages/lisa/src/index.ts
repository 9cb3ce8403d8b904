export { type LisaOptions, lisa, selector } from './lisa.js';
