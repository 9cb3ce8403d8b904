import { z } from 'zod';

export const ilaOptions = z
  .object({
    after: z
      .enum(['tune', 'rank'])
      .default('tune')
      .describe('tune: rank in mid-run, then train the important modules; rank: train all, rank after the last step'),
    score: z
      .enum(['gates', 'taylor', 'leave-one-out'])
      .default('gates')
      .describe('Learned gates (the method), one backward pass a batch, or one forward pass a module and batch'),
    warmup: z
      .number()
      .positive()
      .refine(
        (value) => value < 1 || Number.isInteger(value),
        'is neither a share in (0, 1) nor a whole number of steps',
      )
      .default(0.5)
      .describe('Most steps of stage 1; a count, or a share in (0, 1) of the run'),
    epsilon: z
      .number()
      .min(0)
      .default(0.01)
      .describe('Stage 1 is stable below this share of the first window; 0: never'),
    window: z.int().positive().default(20).describe('Steps in a window of mean losses'),
    patience: z.int().positive().default(3).describe('Consecutive windows that must agree'),
    freeze: z
      .number()
      .min(0)
      .lt(1)
      .optional()
      .describe('Share of the ranked modules, the least important, that stage 3 freezes; 0.25'),
    keep: z.number().positive().max(1).optional().describe('Instead of freeze: share that stage 3 trains, e.g. 0.3'),
    restart: z.boolean().default(true).describe('Whether stage 3 starts again from the initial values'),
    gateStart: z.number().default(4).describe('s_init: σ(4) = 0.982'),
    gateSteps: z.int().positive().default(128).describe('N_s: steps on the gates'),
    gateLearningRate: z.number().positive().default(0.01).describe('Learning rate of the gates'),
    gateOptimizer: z.enum(['adam', 'sgd']).default('adam').describe('What moves the gates'),
    penalty: z.number().min(0).default(0).describe('λ of a penalty λ·Σσ(s) on open gates'),
    batches: z.int().positive().default(8).describe('Batches that taylor and leave-one-out average over'),
    examples: z.int().positive().default(8).describe('Examples in a batch of stage 2'),
    split: z.enum(['train', 'validation']).default('train').describe('Where these examples come from'),
  })
  .superRefine((options, context) => {
    if (options.freeze === undefined || options.keep === undefined) return;
    context.addIssue({ code: 'custom', message: 'keep and freeze are two names of one cut: give one of them' });
  });

export type IlaOptions = z.input<typeof ilaOptions>;
