export { describeNative } from './describe-native.js';
export { type NativeOptions, nativeProblem, useNative } from './use-native.js';
