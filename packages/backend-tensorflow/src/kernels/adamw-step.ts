import type { ops } from '@lft/core';
import { CompiledKernel } from '../compiled/compiled-kernel.js';
import { type Held, TYPE } from '../node-binding.js';
import { RawCall } from '../raw-call.js';

/** p·decay − rate·m′/(√v′·root + ε) with m′ = β₁m + (1 − β₁)g and v′ = β₂v + (1 − β₂)g². @returns p, m′, v′ */
const step = new CompiledKernel((calc, p, m, v, g, beta1, beta2, epsilon, decay, rate, root) => {
  const mixed = (old: typeof p, fresh: typeof p, beta: typeof p) =>
    calc.run('AddV2', calc.run('Mul', old!, beta!), calc.run('Mul', fresh!, calc.run('Sub', 1, beta!)));
  const first = mixed(m, g, beta1);
  const second = mixed(v, calc.run('Square', g!), beta2);
  const denominator = calc.run('AddV2', calc.run('Mul', calc.run('Sqrt', second), root!), epsilon!);
  const change = calc.run('Mul', calc.run('RealDiv', first, denominator), rate!);
  return [calc.run('Sub', calc.run('Mul', p!, decay!), change), first, second];
});

/** LftAdamWStep: every parameter and its moments, in place. */
export function adamwStep(
  _inputs: unknown,
  { slots, hyper }: { readonly slots: readonly ops.AdamWSlot[]; readonly hyper: ops.AdamWHyper },
): [] {
  const { beta1, beta2, epsilon, variant } = hyper;
  RawCall.run((call) => {
    const known = new Map<number, Held>();
    const scalar = (value: number) => {
      const held = known.get(value) ?? call.upload([], TYPE.float32, Float32Array.of(value));
      known.set(value, held);
      return held;
    };
    for (const { parameter, m, v, gradient, step: count, learningRate, weightDecay } of slots) {
      const decay = 1 - learningRate * weightDecay;
      const rate = learningRate / (1 - beta1 ** count);
      const root = Math.sqrt(1 - beta2 ** count);
      // torch: ε beside the corrected root, decay of the old value. hf_legacy: ε beside the plain root, decay of the moved value.
      const factors = variant === 'torch' ? [decay, rate, 1 / root] : [decay, rate * root * decay, 1];
      const rows = [parameter, m, v, gradient].map((each) => call.wide(each));
      const results = step.run(call, rows, [beta1, beta2, epsilon, ...factors].map(scalar));
      [parameter, m, v].forEach((variable, i) => {
        const value = call.tensor(results[i]!);
        variable.assign(value);
        value.dispose();
      });
    }
  });
  return [];
}
