import { z } from 'zod';

/** How a run goes over the data. Every field has a default that suits a small adapter run. */
export const trainingOptions = z.object({
  steps: z.number().int().positive().optional().describe('optimizer steps; default: as many as the epochs need'),
  epochs: z.number().positive().default(1).describe('passes over the training examples, when steps is not given'),
  batchSize: z.number().int().positive().default(8).describe('examples in one pass'),
  gradientAccumulation: z
    .number()
    .int()
    .positive()
    .default(1)
    .describe('passes in one step; weighted by tokens, so the numbers are those of one large batch'),
  maxLength: z
    .number()
    .int()
    .min(2)
    .optional()
    .describe('longest row in tokens; default: the context length, at most 512'),
  schedule: z.enum(['constant', 'linear', 'cosine']).default('linear').describe('how the learning rate runs'),
  warmupSteps: z.number().int().min(0).default(0).describe('steps over which the rate rises from 0'),
  clipNorm: z.number().min(0).default(1).describe('largest global gradient norm; 0 turns clipping off'),
  optimizerState: z
    .enum(['reset', 'keep', 'offload'])
    .optional()
    .describe("state of units that are switched off; default: the selector's own"),
  recompute: z
    .union([z.literal('auto'), z.boolean()])
    .default('auto')
    .describe('compute blocks again in the backward instead of keeping their activations'),
  prefixCache: z
    .number()
    .min(0)
    .default(0)
    .describe(
      'GB on disk for the activations of the blocks below the lowest that trains, kept from epoch to epoch and rounded to bf16',
    ),
  seed: z.number().int().min(0).default(0).describe('for everything random'),
  evaluateEvery: z
    .number()
    .int()
    .min(0)
    .default(0)
    .describe('steps between evaluations on held-out examples; 0: before and after training only'),
  evaluationExamples: z
    .number()
    .int()
    .min(0)
    .default(64)
    .describe('held-out examples in an evaluation; 0: no evaluation'),
  checkpointEvery: z
    .number()
    .int()
    .min(0)
    .default(50)
    .describe('steps between checkpoints (with a run folder); 0: only at the end'),
  keepCheckpoints: z.number().int().positive().default(2).describe('newest checkpoints that stay'),
});

export type TrainingOptions = z.input<typeof trainingOptions>;
export type ResolvedTraining = z.output<typeof trainingOptions> & {
  readonly steps: number;
  readonly maxLength: number;
};
