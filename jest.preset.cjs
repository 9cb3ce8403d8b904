const path = require('node:path');

// A build of the native backend is not to change what the tests run on: LFT_BACKEND=native asks for it.
process.env.LFT_BACKEND ??= 'wasm';

/** Tests run on the sources of all workspace packages, so that a change in one is seen by the others without a build. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/src'],
  testMatch: ['**/*.test.ts'],
  transform: {
    '^.+\\.m?[tj]s$': [
      '@swc/jest',
      { jsc: { target: 'es2022', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  moduleNameMapper: {
    '^@lft/([^/]+)$': path.join(__dirname, 'packages/$1/src/index.ts'),
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  testTimeout: 120000,
};
