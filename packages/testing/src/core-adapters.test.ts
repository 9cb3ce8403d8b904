import { full } from '@lft/core';
import { describeAdapter } from './describe-adapter.js';
import { sublayerAdapter } from './sublayer-adapter.js';

const unmatched = () => full({ targets: ['q_prj'] });

describeAdapter('full', full, { unmatched });
describeAdapter('full with a tied head', full, { model: { tied: true, bias: false } });
describeAdapter('full at chosen modules', () => full({ targets: ['lm_head', 'k_proj', 'input_layernorm'] }), {
  unmatched,
  // The native backend rounds what stands beside a bf16 weight to bf16 as well, and differences of losses drown in that.
  model: { dtype: process.env.LFT_BACKEND === 'native' ? 'F32' : 'BF16' },
});
describeAdapter('the sublayer adapter', sublayerAdapter, { mergeable: false, random: true });
