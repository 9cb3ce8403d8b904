import path from 'node:path';
import { useBackend } from '@lft/core';
import { describeBackend } from '@lft/testing';
import { loadLora } from './index.js';

const fixtures = path.join(__dirname, '../../../fixtures');

describeBackend('wasm', () => useBackend('wasm'), { fixtures, loadAdapter: loadLora });
