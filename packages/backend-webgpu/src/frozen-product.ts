import type { FrozenWeight } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';

interface FrozenProductAttributes {
  readonly weight: FrozenWeight;
  readonly transposed: boolean;
}

/** Each weight goes to the card once, in f32 and in blocks of rows, when it is first used. */
const resident = new WeakMap<FrozenWeight, tf.Tensor2D[]>();

/** Nobody disposes a frozen weight: a model that is let go drops its weights, and their copies go with them. */
const collected = new FinalizationRegistry<tf.Tensor2D[]>((blocks) => tf.dispose(blocks));

function residentBlocks(weight: FrozenWeight): tf.Tensor2D[] {
  const known = resident.get(weight);
  if (known) return known;
  const blocks = weight.blocks().map(([begin, end]) => tf.keep(weight.rowBlock(begin, end)));
  resident.set(weight, blocks);
  collected.register(weight, blocks);
  return blocks;
}

/**
 * LftFrozenProduct: x·W, or x·Wᵀ with `transposed`.
 * @param x [N, out], or [N, in] with `transposed`
 * @returns [N, in], or [N, out] with `transposed`
 */
export function frozenProduct(
  inputs: tf.NamedTensorInfoMap,
  { weight, transposed }: FrozenProductAttributes,
): tf.Tensor2D {
  const x = inputs.x as tf.Tensor2D;
  const blocks = residentBlocks(weight);
  if (blocks.length === 1) return tf.matMul(x, blocks[0]!, false, transposed);
  if (transposed) return tf.concat(blocks.map((block) => tf.matMul(x, block, false, true)) as tf.Tensor2D[], 1);
  const columns = tf.split(
    x,
    blocks.map(({ shape }) => shape[0]),
    1,
  );
  return tf.addN(blocks.map((block, i) => tf.matMul(columns[i]!, block) as tf.Tensor2D));
}
