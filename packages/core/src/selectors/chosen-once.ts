import type { Importance } from '../contracts/importance.js';
import type { Json } from '../contracts/json.js';
import type { LayerSelector, SelectorContext } from '../contracts/layer-selector.js';
import type { Granularity, UnitId, UnitSet } from '../contracts/layer-unit.js';

/** A selector whose set is chosen once, at setup, and trains in every step. */
export function chosenOnce(selector: {
  readonly name: string;
  readonly options: Json;
  readonly granularity: Granularity;
  readonly importance?: Importance | undefined;
  choose(context: SelectorContext): Iterable<UnitId>;
}): LayerSelector {
  let units: UnitSet = new Set();
  return {
    name: selector.name,
    options: selector.options,
    granularity: selector.granularity,
    setup(context) {
      units = new Set(selector.choose(context));
    },
    select: () => units,
    importance: () => selector.importance,
    // The set itself, so that a resumed run keeps it when the importance file has changed meanwhile.
    state: () => ({ units: [...units] }),
    restore(state) {
      units = new Set((state as { units: UnitId[] }).units);
    },
  };
}
