import type { UnitId } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';

/** The first names of a long list. */
export function listed(names: readonly string[], most = 12): string {
  return names.length <= most
    ? names.join(', ')
    : `${names.slice(0, most).join(', ')} … and ${names.length - most} more`;
}

/**
 * Checks that every name is one of the units.
 * @param where  what named them, e.g. `fixed`
 * @param remedy what to do besides correcting the name
 * @throws LftError selector-units
 */
export function requireUnits(
  where: string,
  names: Iterable<string>,
  units: readonly { readonly id: UnitId }[],
  remedy = '',
): void {
  const ids = units.map((unit) => unit.id);
  const known = new Set(ids);
  const unknown = [...names].filter((name) => !known.has(name));
  const first = unknown[0];
  if (first === undefined) return;
  const near = nearestName(first, ids);
  throw new LftError(
    'selector-units',
    `${where}: no trainable unit is called ${first}${unknown.length > 1 ? ` (nor ${listed(unknown.slice(1), 4)})` : ''}.` +
      `${near ? ` Did you mean ${near}?` : ''} There is: ${listed(ids)}.${remedy ? ` ${remedy}` : ''}`,
    { unknown, units: ids },
  );
}
