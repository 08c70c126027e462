// The vector math: every function on Vec<float> and Vec<double>, without libm.
#pragma once
#include "simd/erf.h"
#include "simd/exp.h"
#include "simd/log.h"
#include "simd/normal.h"
#include "simd/pow.h"
#include "simd/trig.h"
