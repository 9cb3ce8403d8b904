import { describeSelector } from '@lft/testing';
import { ist } from './ist.js';

const quick = { interval: 2, examples: 4 };

// One of two blocks can be suppressed in only two ways, and a round compares three.
describeSelector('ist', () => ist(quick), { steps: 6, leastBlocks: 3, random: true });
describeSelector(
  'ist, paper',
  () => ist({ ...quick, variant: 'paper', selection: 'topk', split: 'validation', active: 1, candidates: 2 }),
  { steps: 5, leastBlocks: 2, random: true },
);
