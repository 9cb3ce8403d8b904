import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Adapter } from '../contracts/adapter.js';
import type { DataSource, Example } from '../contracts/data-source.js';
import type { LayerSelector } from '../contracts/layer-selector.js';
import type { UnitId } from '../contracts/layer-unit.js';
import { keyedRandom } from '../random/keyed-random.js';
import type { Run } from '../trainer/run.js';

/** A row of random tokens whose first `masked` labels are ignored. */
export function example(index: number, length: number, masked = 1, vocabulary = 96): Example {
  const random = keyedRandom(1, 'example', index);
  const ids = Int32Array.from({ length }, () => random.integer(vocabulary));
  const labels = Int32Array.from(ids, (id, t) => (t < masked ? -100 : id));
  return { ids, labels };
}

/** Rows of uneven lengths. */
export function examples(count: number, from = 0): Example[] {
  return Array.from({ length: count }, (_, i) => example(from + i, 4 + ((from + i) % 5) * 2, 1 + ((from + i) % 3)));
}

export function source(train: readonly Example[], validation: readonly Example[] = []): DataSource {
  return {
    options: {},
    prepare: async () => ({ train, validation, fingerprint: 'examples', description: 'some examples' }),
  };
}

/** Trains what `choose` gives for the step, and counts what it is told. */
export function choosing(choose: (step: number) => UnitId[], more: Partial<LayerSelector> = {}): LayerSelector {
  let seen = 0;
  return {
    name: 'choosing',
    options: {},
    granularity: 'block',
    setup() {},
    select: (step) => new Set(choose(step)),
    observe() {
      seen += 1;
    },
    importance: () => ({ method: 'choosing', granularity: 'block', scores: new Map([['model.layers.0', seen]]) }),
    state: () => ({ seen }),
    restore(state) {
      seen = (state as { seen: number }).seen;
    },
    ...more,
  };
}

/** The adapter, with every weight it gives turned into NaN while `broken()` says so. */
export function breakable(adapter: Adapter, broken: () => boolean): Adapter {
  return {
    ...adapter,
    attach(site, init) {
      const delta = adapter.attach(site, init);
      if (!delta || site.kind !== 'norm') return delta;
      return {
        ...delta,
        parameters: delta.parameters,
        reweight: (tensor, base, gate) => delta.reweight!(tensor, base, broken() ? Number.NaN : gate),
      };
    },
  };
}

/** Values of every parameter, by name. */
export function valuesOf(run: Pick<Run, 'model'>): Record<string, number[]> {
  return Object.fromEntries(run.model.parameters.map(({ name, variable }) => [name, [...variable.dataSync()]]));
}

export const readLines = (folder: string, file: string): Record<string, unknown>[] => {
  const text = existsSync(path.join(folder, file)) ? readFileSync(path.join(folder, file), 'utf8') : '';
  return text
    .split('\n')
    .filter((line) => line.length > 0)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
};

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Every file of a folder by path: text as it is, other files as a hash. */
export function snapshot(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files
      .map((entry) => path.join(entry.parentPath, entry.name))
      .sort()
      .map((file) => [
        path.relative(folder, file),
        /\.jsonl?$/.test(file) ? readFileSync(file, 'utf8') : digest(readFileSync(file)),
      ]),
  );
}
