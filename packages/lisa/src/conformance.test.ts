import { describeSelector } from '@lft/testing';
import { lisa } from './lisa.js';

describeSelector('lisa', () => lisa({ active: 2, interval: 2 }), { steps: 5, leastBlocks: 2, random: true });
describeSelector('lisa, bernoulli', () => lisa({ active: 1, interval: 1, sampling: 'bernoulli', embeddings: false }), {
  steps: 4,
  random: true,
});
