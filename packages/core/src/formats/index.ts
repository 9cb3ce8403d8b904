export { writeAtomic, writeFileAtomic } from './atomic-write.js';
export type { Dtype } from './dtype.js';
export { bfloat16FromFloat32, float32FromBFloat16, float32FromFloat16 } from './half-precision.js';
export { HuggingFaceFolder } from './hugging-face-folder.js';
export { SafetensorsFile } from './safetensors-file.js';
export type { SafetensorsEntry } from './safetensors-header.js';
export { type SafetensorsInput, writeSafetensors } from './safetensors-write.js';
