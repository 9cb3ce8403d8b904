import { fixed } from '@lft/core';
import { describeSelector } from './describe-selector.js';

describeSelector('fixed, all', () => fixed(), { steps: 4 });
describeSelector('fixed, random', () => fixed({ random: 2 }), { steps: 4, leastBlocks: 2, random: true });
