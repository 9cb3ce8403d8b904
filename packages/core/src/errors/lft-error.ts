const MARK = Symbol.for('lft.error');

/**
 * An error that a person can act on: the message says what is wrong, where, and what to do. The facts are fields. `LftError.is` works
 * across two copies of the library.
 */
export class LftError extends Error {
  readonly [MARK] = true;

  /**
   * @param code   stable name of the kind of error, e.g. `target-not-found`
   * @param message what, where, and the remedy
   * @param facts  the values that the message speaks of
   */
  constructor(
    readonly code: LftErrorCode,
    message: string,
    readonly facts: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'LftError';
  }

  static is(error: unknown): error is LftError {
    return typeof error === 'object' && error !== null && MARK in error;
  }
}

/** Every kind of error that the library raises on purpose. */
export type LftErrorCode =
  | 'file-missing'
  | 'safetensors-invalid'
  | 'shard-missing'
  | 'config-invalid'
  | 'architecture-unknown'
  | 'tensor-missing'
  | 'tensor-shape'
  | 'vocabulary-mismatch'
  | 'tokenizer-invalid'
  | 'options-invalid'
  | 'target-not-found'
  | 'rank-too-large'
  | 'data-invalid'
  | 'data-empty'
  | 'labels-masked'
  | 'example-too-long'
  | 'loss-not-finite'
  | 'resume-mismatch'
  | 'checkpoint-invalid'
  | 'output-not-writable'
  | 'adapter-mismatch'
  | 'adapter-not-mergeable'
  | 'adapter-format'
  | 'selector-units'
  | 'selector-options'
  | 'importance-invalid'
  | 'plugin-not-found'
  | 'plugin-invalid'
  | 'backend-unavailable';
