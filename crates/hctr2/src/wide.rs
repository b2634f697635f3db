//! HCTR2 in vectors of 512 bits: four blocks of AES, or four products of POLYVAL, in one instruction.
//!
//! Products are those of POLYVAL: `a b x^-128`. With `d = swap(h) + low(h) P`, a product `m h` is `R + F high + x^64 F low +
//! P F low`, where `R = m low d high + m high h high` and `F = m low d low + m high h low`. The second form is what [`reduce`]
//! computes, so that sums of products are reduced once.
//!
//! The hash keeps 16 sums, one for each block of a group of 256 bytes. A group multiplies each sum by the key's 16th power and
//! adds its blocks. At the end, each sum is multiplied by its own power. So one group waits for the one before it only a little.

use core::arch::x86_64::{
    __m128i, __m512i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128,
    _mm_aesenclast_si128, _mm_aesimc_si128, _mm_set_epi64x, _mm_set1_epi32, _mm_setzero_si128,
    _mm_shuffle_epi8, _mm_slli_si128, _mm_xor_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_xor_si256, _mm512_add_epi64, _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_castsi512_si256,
    _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_mask_blend_epi64,
    _mm512_set1_epi64, _mm512_setr_epi64, _mm512_setzero_si512, _mm512_shuffle_epi32,
    _mm512_shuffle_i64x2, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

cpufeatures::new!(found, "aes", "avx512f", "vaes", "vpclmulqdq");

const BLOCK: usize = 16;
/// Bytes of 16 blocks, which are processed together.
const GROUP: usize = 16 * BLOCK;
const ROUNDS: usize = 14;

/// x^63 + x^62 + x^57.
const P: u64 = 0xc200_0000_0000_0000;

/// A key, and what is computed from it. It exists only where the processor has the instructions.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Cipher {
    rounds: [__m128i; ROUNDS + 1],
    /// The hash key's powers, from the 16th to the first.
    powers: [Power; 4],
    /// The 16th power in all lanes.
    stride: Power,
    l: __m128i,
}

/// Factors of four products.
#[derive(Clone, Copy, Zeroize)]
struct Power {
    h: __m512i,
    d: __m512i,
}

type Group = [__m512i; 4];

impl Cipher {
    /// Creates a cipher, where the processor has the instructions.
    #[inline]
    pub(crate) fn new(key: &[u8; 32]) -> Option<Self> {
        if !found::get() {
            return None;
        }
        #[expect(unsafe_code, reason = "a call across target features")]
        // SAFETY: the features were found.
        let cipher = unsafe { new_here(key) };
        Some(cipher)
    }

    pub(crate) fn encrypt(&self, message: &mut [u8]) {
        if let Some((first, rest)) = message.split_first_chunk_mut() {
            #[expect(unsafe_code, reason = "a call across target features")]
            // SAFETY: a cipher is made only where the features were found.
            unsafe {
                encrypt_here(self, first, rest);
            }
        }
    }

    pub(crate) fn decrypt(&self, message: &mut [u8]) {
        if let Some((first, rest)) = message.split_first_chunk_mut() {
            #[expect(unsafe_code, reason = "a call across target features")]
            // SAFETY: a cipher is made only where the features were found.
            unsafe {
                decrypt_here(self, first, rest);
            }
        }
    }
}

fn load_block(bytes: &[u8; BLOCK]) -> __m128i {
    #[expect(unsafe_code, reason = "bytes as a register")]
    // SAFETY: both have 16 bytes, and any bytes are a valid register.
    unsafe {
        core::mem::transmute::<[u8; BLOCK], __m128i>(*bytes)
    }
}

fn store_block(block: __m128i) -> [u8; BLOCK] {
    #[expect(unsafe_code, reason = "a register as bytes")]
    // SAFETY: both have 16 bytes, and any register is valid bytes.
    unsafe {
        core::mem::transmute::<__m128i, [u8; BLOCK]>(block)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; GROUP]) -> Group {
    #[expect(unsafe_code, reason = "bytes as registers")]
    // SAFETY: both have 256 bytes, and any bytes are valid registers.
    unsafe {
        core::mem::transmute::<[u8; GROUP], Group>(*bytes)
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(group: Group, bytes: &mut [u8; GROUP]) {
    #[expect(unsafe_code, reason = "registers as bytes")]
    // SAFETY: both have 256 bytes, and any registers are valid bytes.
    unsafe {
        *bytes = core::mem::transmute::<Group, [u8; GROUP]>(group);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn all(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

/// The lowest block in all lanes.
#[target_feature(enable = "avx512f")]
#[inline]
fn lowest(a: __m512i) -> __m512i {
    _mm512_shuffle_i64x2::<0>(a, a)
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn power(h: __m512i) -> Power {
    let low = _mm512_clmulepi64_epi128::<0x00>(h, all(P));
    let d = _mm512_xor_si512(_mm512_shuffle_epi32::<0x4e>(h), low);
    Power { h, d }
}

/// `R` and `F` of four products.
#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn product(m: __m512i, by: &Power) -> (__m512i, __m512i) {
    let r = _mm512_xor_si512(
        _mm512_clmulepi64_epi128::<0x10>(m, by.d),
        _mm512_clmulepi64_epi128::<0x11>(m, by.h),
    );
    let f = _mm512_xor_si512(
        _mm512_clmulepi64_epi128::<0x00>(m, by.d),
        _mm512_clmulepi64_epi128::<0x01>(m, by.h),
    );
    (r, f)
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn reduce((r, f): (__m512i, __m512i)) -> __m512i {
    let swapped = _mm512_shuffle_epi32::<0x4e>(f);
    xor3(r, swapped, _mm512_clmulepi64_epi128::<0x00>(f, all(P)))
}

#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn times(m: __m512i, by: &Power) -> __m512i {
    reduce(product(m, by))
}

/// The hash key's powers, from the 16th to the first, and the 16th in all lanes.
#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn powers(h: __m128i) -> ([Power; 4], Power) {
    let one = _mm512_broadcast_i32x4(h);
    let two = power(times(one, &power(one)));
    let two_one = _mm512_mask_blend_epi64(0b0011_0011, one, two.h);
    let four_three = times(two_one, &two);
    let to_four = _mm512_mask_blend_epi64(0b0000_1111, two_one, four_three);
    let to_eight = times(to_four, &power(lowest(to_four)));
    let eight = power(lowest(to_eight));
    let to_sixteen = times(to_eight, &eight);
    let to_twelve = times(to_four, &eight);
    let all = [
        power(to_sixteen),
        power(to_twelve),
        power(to_eight),
        power(to_four),
    ];
    (all, power(lowest(to_sixteen)))
}

/// Each word is the exclusive or of itself and those before it.
#[target_feature(enable = "avx512f,aes")]
#[inline]
fn cumulated(a: __m128i) -> __m128i {
    let a = _mm_xor_si128(a, _mm_slli_si128::<4>(a));
    _mm_xor_si128(a, _mm_slli_si128::<8>(a))
}

/// The key schedule. The last round of AES of four equal columns is the S-box alone, as no row is shifted into a different one.
#[target_feature(enable = "avx512f,aes")]
#[inline]
fn schedule(key: &[u8; 32]) -> [__m128i; ROUNDS + 1] {
    let (halves, _) = key.as_chunks::<BLOCK>();
    let (mut a, mut b) = (load_block(&halves[0]), load_block(&halves[1]));
    // The last word in all words, rotated and as it is.
    let (rotated, plain) = (_mm_set1_epi32(0x0c0f_0e0d), _mm_set1_epi32(0x0f0e_0d0c));
    let mut rounds = [a; ROUNDS + 1];
    rounds[1] = b;
    for i in 1..=ROUNDS / 2 {
        let constant = _mm_set1_epi32(1 << (i - 1));
        let word = _mm_aesenclast_si128(_mm_shuffle_epi8(b, rotated), constant);
        a = _mm_xor_si128(cumulated(a), word);
        rounds[2 * i] = a;
        if i < ROUNDS / 2 {
            let word = _mm_aesenclast_si128(_mm_shuffle_epi8(a, plain), _mm_setzero_si128());
            b = _mm_xor_si128(cumulated(b), word);
            rounds[2 * i + 1] = b;
        }
    }
    rounds
}

#[target_feature(enable = "avx512f,aes")]
#[inline]
fn encrypt_blocks<const N: usize>(
    rounds: &[__m128i; ROUNDS + 1],
    blocks: [__m128i; N],
) -> [__m128i; N] {
    let mut out = blocks;
    for block in &mut out {
        *block = _mm_xor_si128(*block, rounds[0]);
    }
    for round in &rounds[1..ROUNDS] {
        for block in &mut out {
            *block = _mm_aesenc_si128(*block, *round);
        }
    }
    for block in &mut out {
        *block = _mm_aesenclast_si128(*block, rounds[ROUNDS]);
    }
    out
}

#[target_feature(enable = "avx512f,aes")]
#[inline]
fn decrypt_block(rounds: &[__m128i; ROUNDS + 1], block: __m128i) -> __m128i {
    let mut out = _mm_xor_si128(block, rounds[ROUNDS]);
    for round in rounds[1..ROUNDS].iter().rev() {
        out = _mm_aesdec_si128(out, _mm_aesimc_si128(*round));
    }
    _mm_aesdeclast_si128(out, rounds[0])
}

#[target_feature(enable = "avx512f,aes,vaes,vpclmulqdq")]
fn new_here(key: &[u8; 32]) -> Cipher {
    let rounds = schedule(key);
    let [h, l] = encrypt_blocks(&rounds, [_mm_setzero_si128(), _mm_set_epi64x(0, 1)]);
    let (powers, stride) = powers(h);
    Cipher {
        rounds,
        powers,
        stride,
        l,
    }
}

/// Adds a group to the sums of a hash.
#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn add(cipher: &Cipher, sums: Group, group: Group) -> Group {
    let mut out = sums;
    for (sum, blocks) in out.iter_mut().zip(group) {
        let (r, f) = product(*sum, &cipher.stride);
        *sum = reduce((_mm512_xor_si512(r, blocks), f));
    }
    out
}

/// The hash of all that was added.
#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn total(cipher: &Cipher, sums: Group) -> __m128i {
    let zero = _mm512_setzero_si512();
    let (mut r, mut f) = (zero, zero);
    for (sum, power) in sums.iter().zip(&cipher.powers) {
        let (more_r, more_f) = product(*sum, power);
        r = _mm512_xor_si512(r, more_r);
        f = _mm512_xor_si512(f, more_f);
    }
    let lanes = reduce((r, f));
    let half = _mm256_xor_si256(
        _mm512_castsi512_si256(lanes),
        _mm512_extracti64x4_epi64::<1>(lanes),
    );
    _mm_xor_si128(
        _mm256_castsi256_si128(half),
        _mm256_extracti128_si256::<1>(half),
    )
}

/// The sums of a first group that ends with the block for an empty tweak and a message's length of whole blocks.
#[target_feature(enable = "avx512f")]
#[inline]
fn begun() -> Group {
    let mut sums = [_mm512_setzero_si512(); 4];
    sums[3] = _mm512_setr_epi64(0, 0, 0, 0, 0, 0, 2, 0);
    sums
}

/// Hash of an empty tweak and a message's rest.
#[target_feature(enable = "avx512f,vpclmulqdq")]
#[inline]
fn hash(cipher: &Cipher, rest: &[u8]) -> __m128i {
    let whole = rest.len().is_multiple_of(BLOCK);
    // The first group is the one that may be short: blocks of zeros at the start of a hash do not change it.
    let blocks = rest.len().div_ceil(BLOCK);
    let before = blocks % 16;
    let (head, rest) = rest.split_at_checked(before * BLOCK).unwrap_or((rest, &[]));
    let mut sums = if before == 0 {
        begun()
    } else {
        let mut group = [0; GROUP];
        let at = GROUP - before * BLOCK;
        group[at - BLOCK] = if whole { 2 } else { 3 };
        group[at..at + head.len()].copy_from_slice(head);
        if let Some(end) = group[at..].get_mut(head.len()) {
            *end = 1;
        }
        load(&group)
    };
    if before == 0 && !whole {
        sums[3] = _mm512_setr_epi64(0, 0, 0, 0, 0, 0, 3, 0);
    }
    let (groups, last) = rest.as_chunks::<GROUP>();
    for group in groups {
        sums = add(cipher, sums, load(group));
    }
    if !last.is_empty() {
        let mut group = [0; GROUP];
        group[..last.len()].copy_from_slice(last);
        group[last.len()] = 1;
        sums = add(cipher, sums, load(&group));
    }
    total(cipher, sums)
}

/// XCTR: the key stream from a counter that starts at 1, combined with `s`.
struct Stream {
    s: __m512i,
    counter: __m512i,
    rounds: [__m512i; ROUNDS + 1],
}

#[target_feature(enable = "avx512f")]
#[inline]
fn stream(cipher: &Cipher, s: __m128i) -> Stream {
    let mut rounds = [_mm512_setzero_si512(); ROUNDS + 1];
    for (wide, round) in rounds.iter_mut().zip(cipher.rounds) {
        *wide = _mm512_broadcast_i32x4(round);
    }
    Stream {
        s: _mm512_broadcast_i32x4(s),
        counter: _mm512_setr_epi64(1, 0, 2, 0, 3, 0, 4, 0),
        rounds,
    }
}

/// The next 16 blocks of text, combined with the key stream.
#[target_feature(enable = "avx512f,vaes")]
#[inline]
fn apply(stream: &mut Stream, text: Group) -> Group {
    let four = _mm512_setr_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    let mut out = text;
    for block in &mut out {
        *block = xor3(stream.s, stream.counter, stream.rounds[0]);
        stream.counter = _mm512_add_epi64(stream.counter, four);
    }
    for round in &stream.rounds[1..ROUNDS] {
        for block in &mut out {
            *block = _mm512_aesenc_epi128(*block, *round);
        }
    }
    for (block, text) in out.iter_mut().zip(text) {
        // What is added to the last round's key is added to its result.
        *block = _mm512_aesenclast_epi128(*block, _mm512_xor_si512(stream.rounds[ROUNDS], text));
    }
    out
}

/// Combines the key stream with a message's rest, and returns the hash of the result.
#[target_feature(enable = "avx512f,vaes,vpclmulqdq")]
#[inline]
fn stream_and_hash(cipher: &Cipher, s: __m128i, rest: &mut [u8]) -> __m128i {
    let mut stream = stream(cipher, s);
    let (groups, last) = rest.as_chunks_mut::<GROUP>();
    if last.is_empty() {
        let mut sums = begun();
        for bytes in groups {
            let group = apply(&mut stream, load(bytes));
            store(group, bytes);
            sums = add(cipher, sums, group);
        }
        return total(cipher, sums);
    }
    for bytes in groups {
        let group = apply(&mut stream, load(bytes));
        store(group, bytes);
    }
    let mut bytes = [0; GROUP];
    bytes[..last.len()].copy_from_slice(last);
    let group = apply(&mut stream, load(&bytes));
    store(group, &mut bytes);
    last.copy_from_slice(&bytes[..last.len()]);
    hash(cipher, rest)
}

#[target_feature(enable = "avx512f,aes,vaes,vpclmulqdq")]
fn encrypt_here(cipher: &Cipher, first: &mut [u8; BLOCK], rest: &mut [u8]) {
    let mm = _mm_xor_si128(load_block(first), hash(cipher, rest));
    let [uu] = encrypt_blocks(&cipher.rounds, [mm]);
    let s = _mm_xor_si128(_mm_xor_si128(mm, uu), cipher.l);
    *first = store_block(_mm_xor_si128(uu, stream_and_hash(cipher, s, rest)));
}

#[target_feature(enable = "avx512f,aes,vaes,vpclmulqdq")]
fn decrypt_here(cipher: &Cipher, first: &mut [u8; BLOCK], rest: &mut [u8]) {
    let uu = _mm_xor_si128(load_block(first), hash(cipher, rest));
    let mm = decrypt_block(&cipher.rounds, uu);
    let s = _mm_xor_si128(_mm_xor_si128(mm, uu), cipher.l);
    *first = store_block(_mm_xor_si128(mm, stream_and_hash(cipher, s, rest)));
}
