import path from 'node:path';
import { loadLora } from '@lft/lora';
import { describeBackend } from '@lft/testing';
import { whereInstalled } from './__testing__/where-installed.js';
import { useTensorFlow } from './use-tensorflow.js';

const fixtures = path.join(__dirname, '../../../fixtures');

whereInstalled('in f32', () => {
  describeBackend('tensorflow', () => useTensorFlow(), { fixtures, loadAdapter: loadLora });
});
