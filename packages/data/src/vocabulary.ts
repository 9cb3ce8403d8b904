import { LftError, type ModelInfo } from '@lft/core';
import type { Tokenizer } from './tokenizer.js';

/**
 * Checks that every id the tokenizer can give has a row in the model's embedding. A model with more rows is fine: vocabularies are
 * padded to round numbers.
 * @throws LftError vocabulary-mismatch
 */
export function checkVocabulary(
  tokenizer: Pick<Tokenizer, 'vocabularySize' | 'source'>,
  model: Pick<ModelInfo, 'vocabularySize' | 'source'>,
): void {
  if (tokenizer.vocabularySize <= model.vocabularySize) return;
  throw new LftError(
    'vocabulary-mismatch',
    `the tokenizer of ${tokenizer.source} gives ids up to ${tokenizer.vocabularySize - 1}, but the model ${model.source} has a vocabulary of ${model.vocabularySize} (highest id ${model.vocabularySize - 1}); use the tokenizer that the model was trained with`,
    { tokenizer: tokenizer.vocabularySize, model: model.vocabularySize },
  );
}
