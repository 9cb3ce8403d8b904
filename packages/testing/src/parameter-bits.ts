import { createHash } from 'node:crypto';
import type { LayerUnit, Parameter, UnitId } from '@lft/core';

/** Digest of the bits of some parameters: equal digests, equal bits (a negative zero differs from zero). Makes no tensor of those that have none. */
export function parameterBits(parameters: Iterable<Parameter>): string {
  const hash = createHash('sha1');
  for (const parameter of parameters) {
    const value = parameter.value();
    const values = value.dataSync();
    value.dispose();
    hash.update(parameter.name).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}

export function unitBits(units: readonly LayerUnit[]): Map<UnitId, string> {
  return new Map(units.map((unit) => [unit.id, parameterBits(unit.parameters)]));
}
