import { full } from '@lft/core';
import { lora } from '@lft/lora';
import { describeSelector, sublayerAdapter } from '@lft/testing';
import { ila } from './ila.js';

const quick = { warmup: 3, gateSteps: 2, batches: 2, examples: 3 };
const adapters = {
  full,
  lora: () => lora({ targets: 'all-linear', rank: 2, dropout: 0.1 }),
  sublayer: sublayerAdapter,
};

describeSelector('ila', () => ila({ ...quick, keep: 0.5 }), { steps: 6, blocks: 3, adapters });
describeSelector('ila, ranking at the end', () => ila({ ...quick, after: 'rank', score: 'taylor' }), {
  steps: 4,
  blocks: 3,
});
describeSelector(
  'ila, leave one out without a restart',
  () => ila({ ...quick, score: 'leave-one-out', restart: false, batches: 1, epsilon: 0 }),
  { steps: 4, blocks: 2, adapters: { sublayer: sublayerAdapter } },
);
