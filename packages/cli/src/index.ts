export { defineConfig, type LftConfig } from './config-file.js';
export { type MainStreams, main } from './main.js';
