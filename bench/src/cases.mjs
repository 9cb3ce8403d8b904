import { SHAPES } from './shapes.mjs';

/** How PyTorch is run for a format of the weights, by what the table calls it. */
export const PYTORCH_SETTINGS = {
  'f32-mkl': 'PyTorch f32, MKL',
  'f32-onednn': "PyTorch f32, oneDNN ('medium')",
  'bf16-autocast': 'PyTorch bf16, autocast',
  'bf16-eager': 'PyTorch bf16, eager',
  'bf16-compile': 'PyTorch bf16, torch.compile',
};

const METHODS = ['lora-qv', 'lora-all', 'full', 'lisa', 'ist'];
const FORMATS = ['bf16', 'f32', 'int8'];
const BATCHES = [
  [2, 256],
  [8, 128],
];

/** Methods that keep some weights frozen as they are: the others train f32 copies, so that there is nothing for int8 to hold. */
const FROZEN = ['lora-qv', 'lora-all', 'ist'];

/** What --quick runs, the most telling first: when its time is up, the rest is left out. */
const QUICK = [
  '15M-lora-qv-bf16-2x256',
  '135M-lora-qv-bf16-2x256',
  '135M-lora-qv-f32-2x256',
  '135M-lora-qv-int8-2x256',
  '135M-full-bf16-2x256',
  '135M-lisa-bf16-2x256',
  '135M-ist-bf16-2x256',
  '135M-lora-all-bf16-2x256',
  '15M-lora-qv-f32-2x256',
  '15M-full-bf16-2x256',
  '15M-lisa-bf16-2x256',
  '15M-ist-bf16-2x256',
  '15M-lora-all-bf16-2x256',
  '15M-lora-qv-bf16-8x128',
];

/** On one wasm thread a step of the 135M shape takes some ten seconds, of the 1.1B shape minutes. */
const QUICK_ON_WASM = QUICK.filter((name) => name.startsWith('15M') || name === '135M-lora-qv-bf16-2x256');

function allCases() {
  const cases = [];
  for (const shape of Object.keys(SHAPES)) {
    for (const [batch, length] of BATCHES) {
      for (const method of METHODS) {
        for (const weights of FORMATS) {
          if (weights === 'int8' && !FROZEN.includes(method)) continue;
          // The large shape shows what changes with size; all combinations would take a day.
          if (shape === '1.1B' && (batch !== 2 || weights === 'f32' || !['lora-qv', 'full'].includes(method))) continue;
          const name = `${shape}-${method}-${weights}-${batch}x${length}`;
          cases.push({
            name,
            shape,
            method,
            weights,
            batch,
            length,
            settings: pytorchSettings(shape, method, weights, batch),
          });
        }
      }
    }
  }
  return cases;
}

/** int8 is compared with what PyTorch does in bf16: PEFT has no int8 weights to train beside on a CPU. */
function pytorchSettings(shape, method, weights, batch) {
  if (weights === 'f32') return ['f32-mkl', 'f32-onednn'];
  // f32 copies of 1.1B weights with their optimizer state take 18 GB.
  if (shape === '1.1B') return method === 'full' ? ['bf16-eager'] : ['bf16-autocast', 'bf16-eager'];
  // Switching what trains makes torch.compile compile again and again.
  const compiles = method === 'lora-qv' || (batch === 2 && ['lora-all', 'full'].includes(method));
  return ['bf16-autocast', 'bf16-eager', ...(compiles ? ['bf16-compile'] : [])];
}

/**
 * The cases to run, in order.
 * @param only parts of names; `135M lora` takes the cases with either, `135M-lora-qv` those with that in it
 * @throws Error when nothing has such a name
 */
export function selectCases({ quick, only, backend }) {
  const cases = allCases();
  if (only) {
    const chosen = cases.filter(({ name }) => only.some((part) => name.includes(part)));
    if (chosen.length === 0) {
      throw new Error(`--only ${only.join(' ')}: no case has that in its name. Names are like ${cases[0].name}:
shape ${Object.keys(SHAPES).join(', ')}; method ${METHODS.join(', ')}; weights ${FORMATS.join(', ')}; ${BATCHES.map((pair) => pair.join('x')).join(', ')}`);
    }
    return chosen;
  }
  if (quick) {
    const names = backend === 'wasm' ? QUICK_ON_WASM : QUICK;
    return names.map((name) => withoutSlowSettings(cases.find((one) => one.name === name)));
  }
  return cases.filter(({ shape }) => backend !== 'wasm' || shape !== '1.1B');
}

/** In --quick only the LoRA cases that lead the list wait for the compiler, which takes up to two minutes. */
function withoutSlowSettings(one) {
  if (one.method === 'lora-qv' && one.batch === 2) return one;
  return { ...one, settings: one.settings.filter((setting) => setting !== 'bf16-compile') };
}
