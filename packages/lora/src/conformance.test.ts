import { describeAdapter } from '@lft/testing';
import { loadLora, lora } from './index.js';

const laws = { load: loadLora, random: true, unmatched: () => lora({ targets: ['q_prj'] }) };

describeAdapter('lora', () => lora({ rank: 2 }), laws);
describeAdapter(
  'lora on all linear modules, with dropout',
  () => lora({ rank: 3, alpha: 6, targets: 'all-linear', rsLora: true, dropout: 0.2, init: 'random' }),
  laws,
);
describeAdapter(
  'lora with the embedding, and modules trained in full',
  () => lora({ rank: 2, targets: ['embed_tokens', 'o_proj'], modulesToSave: ['lm_head', 'norm', 'k_proj'] }),
  laws,
);
