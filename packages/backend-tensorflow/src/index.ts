export { type SetupOptions, type SetupResult, setupOptions, setupTensorFlow } from './setup/setup-tensorflow.js';
export {
  readyPackage,
  type TensorFlowFacts,
  type TensorFlowOptions,
  tensorFlowFacts,
  tensorFlowOptions,
  useTensorFlow,
} from './use-tensorflow.js';
