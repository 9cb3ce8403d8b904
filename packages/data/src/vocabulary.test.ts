import { checkVocabulary } from './vocabulary.js';

test('a model with more rows than the tokenizer has tokens is fine', () => {
  expect(() =>
    checkVocabulary({ source: 't', vocabularySize: 500 }, { source: 'm', vocabularySize: 512 }),
  ).not.toThrow();
});

test('a tokenizer with more tokens than the model has rows is an error with both numbers', () => {
  expect(() => checkVocabulary({ source: 't', vocabularySize: 513 }, { source: 'm', vocabularySize: 512 })).toThrow(
    /ids up to 512, but the model m has a vocabulary of 512/,
  );
});
