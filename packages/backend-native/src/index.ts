export { type NativeOptions, nativeProblem, useNative } from './use-native.js';
