export { loadLora, lora, loraSize } from './lora.js';
export { type LoraOptions, loraOptions } from './options.js';
export { adapter } from './plugin.js';
export { loraScale } from './scale.js';
export type { SiteShape } from './targets.js';
