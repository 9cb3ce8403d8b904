import type { DataSource, LayerSelector } from '@lft/core';

/** What a reference was computed on. */
export interface ReferenceRows {
  readonly input_ids: readonly number[][];
  readonly labels: readonly number[][];
  readonly attention_mask: readonly number[][];
}

/** The rows without their padding, as data to train on. */
export function unpaddedRows({ input_ids, labels, attention_mask }: ReferenceRows): DataSource {
  const train = input_ids.map((row, r) => {
    const length = attention_mask[r]!.lastIndexOf(1) + 1;
    return { ids: Int32Array.from(row.slice(0, length)), labels: Int32Array.from(labels[r]!.slice(0, length)) };
  });
  return {
    options: {},
    prepare: async () => ({ train, validation: [], fingerprint: 'fixture', description: 'two rows' }),
  };
}

/** Trains everything, and keeps the norm of every parameter's gradient in the first step. */
export function gradientNormWatcher(): { selector: LayerSelector; norms: Map<string, number> } {
  const norms = new Map<string, number>();
  let all: ReadonlySet<string> = new Set();
  const selector: LayerSelector = {
    name: 'watcher',
    options: {},
    granularity: 'matrix',
    setup({ units }) {
      all = new Set(units.map(({ id }) => id));
    },
    select: () => all,
    observe({ step, gradientNorms }) {
      if (step === 0) for (const [id, norm] of gradientNorms) norms.set(id, norm);
    },
    importance: () => undefined,
    state: () => null,
    restore() {},
  };
  return { selector, norms };
}
