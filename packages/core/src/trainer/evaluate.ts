import type { Example } from '../contracts/data-source.js';
import { LftError } from '../errors/lft-error.js';
import type { AdaptedModel } from '../models/adapted-model.js';
import { collate } from './batch.js';
import { summedLoss } from './forward-stages.js';

export interface EvaluateOptions {
  /** Examples in one pass. Default 8. */
  readonly batchSize?: number;
  readonly onBatch?: (done: number, of: number) => void;
}

/**
 * Mean loss per labelled token, in evaluation mode.
 * @throws LftError labels-masked when no token has a label
 */
export async function evaluateLoss(
  model: AdaptedModel,
  examples: readonly Example[],
  { batchSize = 8, onBatch }: EvaluateOptions = {},
): Promise<{ loss: number; tokens: number }> {
  let sum = 0;
  let tokens = 0;
  for (let i = 0; i < examples.length; i += batchSize) {
    const batch = collate(examples.slice(i, i + batchSize), model.base.info.padTokenId ?? 0);
    if (batch.targets.length > 0) sum += summedLoss({ model: model.base, pass: model.forward(), batch });
    tokens += batch.targets.length;
    onBatch?.(Math.min(examples.length, i + batchSize), examples.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (tokens === 0) {
    throw new LftError(
      'labels-masked',
      'no token of the held-out examples has a label, so there is no loss to measure',
      {
        examples: examples.length,
      },
    );
  }
  return { loss: sum / tokens, tokens };
}
