// What a model is computed on and why: said once at boot, in the log and as metrics, with what is missing there.
#pragma once

#include "engine/base/status.h"
#include "engine/model/model_config.h"
#include "engine/runtime/boot.h"
#include "kernels/api/device.h"

namespace foregate {

// foregate_device_info is 1 with the choice and its reason as labels; foregate_library_missing is 1 where a GPU should
// have its library for dense products and has not, which is warned of once.
void report_device(const BootOptions& options, const Device& device, const BootReport& report);

// Takes what products of whole steps need, before anything else is given the device's memory. kResourceExhausted when
// it is not there.
Status plan_products(const BootOptions& options, const ModelConfig& config, Stream& stream);

}  // namespace foregate
