export { type AdapterLawOptions, describeAdapter } from './describe-adapter.js';
export { describeOptimizer, type OptimizerLawOptions } from './describe-optimizer.js';
export { describeSelector, type SelectorLawOptions } from './describe-selector.js';
export { type ResumeTrial, type ResumeTrialOptions, resumeTrials } from './resume-trials.js';
export { runRecord } from './run-record.js';
export { sublayerAdapter } from './sublayer-adapter.js';
export { type TinyDataOptions, tinyData } from './tiny-data.js';
export { type TinyModel, type TinyModelOptions, tinyModel } from './tiny-model.js';
export { Witness, type WitnessedStep, type WitnessOptions } from './witness.js';
