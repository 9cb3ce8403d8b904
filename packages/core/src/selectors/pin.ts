import type { Json } from '../contracts/json.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { LayerUnit, UnitId } from '../contracts/layer-unit.js';
import { LftError } from '../errors/lft-error.js';
import { nearestName } from '../errors/nearest-name.js';
import { listed } from './known-units.js';

/**
 * A selector whose given units train in every step, besides those that it selects: `pin(ist({ active: 2 }), ['embed', 'head'])`.
 * @param units ids of units, or roles (`embed`, `head`, `norm`, `q`, …): every unit of that role
 * @throws LftError selector-units, at setup, for a name that is neither
 */
export function pin(selector: LayerSelector, units: readonly string[]): LayerSelector {
  let pinned: UnitId[] = [];
  return {
    name: `pin(${selector.name})`,
    options: { units, selector: { name: selector.name, options: selector.options } },
    granularity: selector.granularity,
    ...(selector.optimizerState && { optimizerState: selector.optimizerState }),
    async setup(context) {
      pinned = units.flatMap((name) => matching(name, context.units));
      await selector.setup(context);
    },
    select: (step) => new Set([...selector.select(step), ...pinned]),
    observe: (event) => selector.observe?.(event),
    probe: async (step, probe) => selector.probe?.(step, probe),
    importance: () => selector.importance(),
    state: () => ({ selector: selector.state() }),
    restore: (state) => selector.restore((state as { selector: Json }).selector),
  };
}

function matching(name: string, units: readonly LayerUnit[]): UnitId[] {
  const ids = units.filter((unit) => unit.id === name || unit.role === name).map((unit) => unit.id);
  if (ids.length > 0) return ids;
  const names = [...new Set([...units.map((unit) => unit.role as string), ...units.map((unit) => unit.id)])];
  const near = nearestName(name, names);
  throw new LftError(
    'selector-units',
    `pin: no trainable unit has the id or the role ${name}.${near ? ` Did you mean ${near}?` : ''} There is: ${listed(names)}. A tied head has no unit of its own: pin embed.`,
    { name, names },
  );
}
