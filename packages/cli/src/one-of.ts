import { LftError, nearestName } from '@lft/core';

/** The value of a flag that takes one of some names. @throws LftError options-invalid with the nearest name */
export function oneOf<const Name extends string>(flag: string, value: string, names: readonly Name[]): Name {
  if (names.includes(value as Name)) return value as Name;
  const near = nearestName(value, names);
  throw new LftError(
    'options-invalid',
    `${flag} takes ${names.join('|')}, not "${value}"${near ? `; did you mean "${near}"?` : ''}`,
  );
}
