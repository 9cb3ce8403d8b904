import type { LayerSelector } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitSet } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';

/**
 * What the selector chooses for a step, in forward order.
 * @throws LftError selector-units when it chooses nothing, or what is not there
 */
export function selection(selector: LayerSelector, units: readonly LayerUnit[], step: number): UnitSet {
  const chosen = selector.select(step);
  const known = units.map(({ id }) => id);
  const unknown = [...chosen].find((id) => !known.includes(id));
  if (unknown !== undefined) {
    const near = nearestName(unknown, known);
    throw new LftError(
      'selector-units',
      `selector ${selector.name} chose unit "${unknown}" in step ${step}, which this model does not have${near ? `; it has "${near}"` : ''}. Its units at granularity ${selector.granularity}: ${summary(known)}`,
      { unit: unknown, step },
    );
  }
  if (chosen.size === 0) {
    throw new LftError(
      'selector-units',
      `selector ${selector.name} chose no unit in step ${step}: nothing would train. There is: ${summary(known)}`,
      { step },
    );
  }
  // A copy: a selector may go on using its own set.
  return new Set(known.filter((id) => chosen.has(id)));
}

function summary(names: readonly string[]): string {
  return names.length <= 12
    ? names.join(', ')
    : `${names.slice(0, 6).join(', ')}, … ${names.slice(-4).join(', ')} (${names.length})`;
}
