export { describeWebGpu, useWebGpu, type WebGpuOptions, webGpuOptions } from './use-webgpu.js';
