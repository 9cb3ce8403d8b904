/** These tests use the packages as they are built, and take minutes: one file at a time. */
module.exports = { ...require('../jest.preset.cjs'), maxWorkers: 1, testTimeout: 1_200_000 };
