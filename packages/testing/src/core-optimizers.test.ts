import { adamw } from '@lft/core';
import { describeOptimizer } from './describe-optimizer.js';

describeOptimizer('adamw', () => adamw({ learningRate: 1e-2, weightDecay: 0.1 }));
describeOptimizer('adamw with groups, hf_legacy', () =>
  adamw({ variant: 'hf_legacy', weightDecay: 0.1, groups: [{ match: '0$', weightDecay: 0, learningRateFactor: 2 }] }),
);
