import path from 'node:path';
import { useBackend } from '@lft/core';
import { loadLora } from '@lft/lora';
import { describeBackend } from '@lft/testing';
import { nativeProblem, useNative } from './index.js';

const fixtures = path.join(__dirname, '../../../fixtures');

const problem = nativeProblem();
(problem ? describe.skip : describe)('the native backend in f32', () => {
  describeBackend('native', () => useNative({ precision: 'f32' }), { fixtures, loadAdapter: loadLora });
});

if (problem) test.skip(problem, () => useBackend());
