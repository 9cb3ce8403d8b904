import { type Importance, type LayerUnit, LftError, readImportance, type UnitId } from '@lft/core';

/** Weight of every block in the draw, in forward order; not normalised. */
export type BlockWeights = readonly number[];

/**
 * A profile of scores per block, read from an importance file. With `over`, the quotient of two: p_ℓ ∝ w̃_ℓ(LoRA) / w̃_ℓ(FT), the mean
 * weight norms that motivate LISA.
 * @throws LftError selector-options when the files do not rank blocks, or not the same ones
 */
export function readProfile(paths: { importance: string; over?: string | undefined }): Importance {
  const profile = readBlocks(paths.importance);
  if (paths.over === undefined) return { method: 'lisa', granularity: 'block', scores: profile.scores };
  const over = readBlocks(paths.over);
  const scores = new Map<UnitId, number>();
  for (const [id, score] of profile.scores) {
    const divisor = over.scores.get(id);
    if (divisor === undefined || divisor <= 0) {
      throw new LftError(
        'selector-options',
        `selector lisa: ${paths.over} gives ${id} ${divisor === undefined ? 'no score' : `the score ${divisor}`}; a quotient of norms needs positive scores for the same blocks.`,
        { id, divisor },
      );
    }
    scores.set(id, score / divisor);
  }
  return { method: 'lisa', granularity: 'block', scores };
}

function readBlocks(path: string): Importance {
  const file = readImportance(path);
  if (file.granularity === 'block') return file;
  throw new LftError(
    'selector-options',
    `selector lisa: ${path} ranks at granularity ${file.granularity}; LISA draws blocks. Aggregate it: aggregate(readImportance(path), 'block', 'sum').`,
    { path, granularity: file.granularity },
  );
}

/** @throws LftError selector-options when the weights do not fit the blocks */
export function blockWeights(
  probabilities: 'uniform' | 'increase' | 'decrease' | readonly number[] | Importance,
  blocks: readonly LayerUnit[],
): BlockWeights {
  const count = blocks.length;
  if (probabilities === 'uniform') return blocks.map(() => 1);
  if (probabilities === 'increase') return blocks.map((_, index) => index + 1);
  if (probabilities === 'decrease') return blocks.map((_, index) => count - index);
  if ('scores' in probabilities) return blocks.map((unit) => profileWeight(probabilities, unit.id));
  if (probabilities.length === count) return probabilities;
  throw new LftError(
    'selector-options',
    `selector lisa: probabilities has ${probabilities.length} weights, and ${count} blocks have something to train. Give one weight a block.`,
    { weights: probabilities.length, blocks: count },
  );
}

function profileWeight(profile: Importance, id: UnitId): number {
  const score = profile.scores.get(id);
  if (score !== undefined && score >= 0) return score;
  throw new LftError(
    'selector-options',
    `selector lisa: the importance file gives ${id} ${score === undefined ? 'no score' : `the score ${score}`}; a probability needs a score of 0 or more for every block.`,
    { id, score },
  );
}
