import { LftError } from '@lft/core';

/** The LftError that a call raises. */
export async function caught(call: () => unknown): Promise<LftError> {
  try {
    await call();
  } catch (error) {
    if (LftError.is(error)) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}
