import type { AdapterPlugin } from '@lft/core';
import { loadLora, lora } from './lora.js';
import { loraOptions } from './options.js';

/** What `lft train --adapter lora` finds. */
export const adapter: AdapterPlugin<typeof loraOptions> = {
  name: 'lora',
  summary: 'Low-rank updates beside frozen weights, in folders that PEFT reads',
  options: loraOptions,
  create: lora,
  format: 'LORA',
  load: loadLora,
};
