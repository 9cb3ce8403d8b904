import type { ModelInfo } from '../contracts/model-info.js';

/** What a run tells while it runs. */
export type ProgressEvent =
  | {
      readonly kind: 'start';
      /** First step of this process: more than 0 when a run is resumed. */
      readonly step: number;
      readonly steps: number;
      readonly backend: string;
      readonly model: ModelInfo;
      /** Trainable values, and all values of the model. */
      readonly trainable: number;
      readonly total: number;
      readonly units: number;
      readonly data: string;
      readonly trainExamples: number;
      readonly validationExamples: number;
    }
  | {
      readonly kind: 'step';
      /** 0-based step that just ended. */
      readonly step: number;
      readonly steps: number;
      readonly loss: number;
      readonly learningRate: number;
      readonly gradientNorm: number;
      /** Tokens in the batch, prompts included. */
      readonly tokens: number;
      readonly tokensPerSecond: number;
      readonly secondsLeft: number;
      readonly active: readonly string[];
    }
  | {
      readonly kind: 'evaluate';
      readonly step: number;
      readonly done: number;
      readonly of: number;
      readonly loss?: number;
    }
  | { readonly kind: 'probe'; readonly step: number; readonly passes: number }
  /** Something that was asked for is not done, and the run goes on without it. */
  | { readonly kind: 'notice'; readonly step: number; readonly message: string }
  | { readonly kind: 'checkpoint'; readonly step: number; readonly folder: string };
