import { type DataSource, type Dataset, type Example, IGNORED_LABEL, LftError } from '@lft/core';
import { learnedTokens } from './encode.js';
import { dataFingerprint } from './fingerprint.js';

/** A ready example; labels default to the ids, the first one ignored. */
export interface TokenizedExample {
  readonly ids: ArrayLike<number>;
  readonly labels?: ArrayLike<number>;
  readonly segments?: ArrayLike<number>;
}

/** What {@link tokenized} takes besides the examples. */
export interface TokenizedOptions {
  /** Held out; none by default. */
  readonly validation?: readonly TokenizedExample[];
}

/**
 * Examples that are tokenized already, in the order given: for tests, and for data that no template fits.
 * @throws LftError data-empty, data-invalid (naming the example) at once; from `prepare`: vocabulary-mismatch, example-too-long,
 *   labels-masked
 */
export function tokenized(
  examples: readonly TokenizedExample[],
  { validation = [] }: TokenizedOptions = {},
): DataSource {
  if (examples.length === 0) {
    throw new LftError('data-empty', 'tokenized() was given no examples; give at least one { ids }');
  }
  const train = examples.map((example, i) => toExample(example, `example ${i}`));
  const held = validation.map((example, i) => toExample(example, `validation example ${i}`));

  return {
    options: { source: 'tokenized', examples: train.length, validation: held.length },
    async prepare({ model, maxLength, seed }) {
      for (const [name, group] of [
        ['example', train],
        ['validation example', held],
      ] as const) {
        group.forEach(({ ids }, i) => {
          const where = `${name} ${i}`;
          const foreign = ids.find((id) => id < 0 || id >= model.vocabularySize);
          if (foreign !== undefined) {
            throw new LftError(
              'vocabulary-mismatch',
              `${where} has the id ${foreign}, but the model ${model.source} has a vocabulary of ${model.vocabularySize} (ids 0 to ${model.vocabularySize - 1})`,
              { where, id: foreign, model: model.vocabularySize },
            );
          }
          if (ids.length > maxLength) {
            throw new LftError(
              'example-too-long',
              `${where}: ${ids.length} tokens are more than maxLength ${maxLength}; cut it, or raise maxLength (the model's context is ${model.contextLength})`,
              { where, length: ids.length, maxLength },
            );
          }
        });
      }
      const learned = train.reduce((sum, example) => sum + learnedTokens(example), 0);
      if (learned === 0) {
        throw new LftError(
          'labels-masked',
          `every label of ${train.length} examples is ${IGNORED_LABEL}, so that there is nothing to learn; set labels to the ids that are to be learned`,
          { examples: train.length },
        );
      }
      return {
        train,
        validation: held,
        fingerprint: dataFingerprint({
          files: [],
          options: { source: 'tokenized' },
          seed,
          maxLength,
          train,
          validation: held,
        }),
        description: `${train.length.toLocaleString('en-US')} tokenized examples, ${held.length.toLocaleString('en-US')} for validation (${learned.toLocaleString('en-US')} tokens learned)`,
      } satisfies Dataset;
    },
  };
}

function toExample({ ids, labels, segments }: TokenizedExample, where: string): Example {
  if (ids.length === 0) throw new LftError('data-invalid', `${where} has no ids`, { where });
  for (const [name, array] of Object.entries({ labels, segments })) {
    if (array && array.length !== ids.length) {
      throw new LftError(
        'data-invalid',
        `${where} has ${ids.length} ids but ${array.length} ${name}; they must be as many`,
        {
          where,
        },
      );
    }
  }
  const example = {
    ids: Int32Array.from(ids),
    labels: labels ? Int32Array.from(labels) : Int32Array.from(ids),
  };
  if (!labels) {
    example.labels.forEach((_, i) => {
      if (i === 0 || (segments && segments[i] !== segments[i - 1])) example.labels[i] = IGNORED_LABEL;
    });
  }
  const wrong = Array.from(ids).findIndex((id) => !Number.isInteger(id));
  if (wrong >= 0)
    throw new LftError('data-invalid', `${where}: id ${wrong} is ${ids[wrong]}, not an integer`, { where });
  return segments ? { ...example, segments: Int32Array.from(segments) } : example;
}
