# The devices of QEMU that Kata's configurations of an x86_64 guest name, and no others.
# Machines
CONFIG_Q35=y
CONFIG_MICROVM=y
# Buses: PCI Express ports that devices are plugged into
CONFIG_PCI_DEVICES=n
CONFIG_PCIE_PORT=y
CONFIG_XIO3130=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_MMIO=y
# Virtio, and what lives outside of the VMM
CONFIG_VIRTIO_BLK=y
CONFIG_VIRTIO_SCSI=y
CONFIG_VIRTIO_NET=y
CONFIG_VIRTIO_SERIAL=y
CONFIG_VIRTIO_RNG=y
CONFIG_VIRTIO_BALLOON=y
CONFIG_VIRTIO_MEM=y
CONFIG_VIRTIO_PMEM=y
CONFIG_VIRTIO_IOMMU=y
CONFIG_VIRTIO_9P=y
CONFIG_VHOST_SCSI=y
CONFIG_VHOST_VSOCK=y
CONFIG_VHOST_USER_BLK=y
CONFIG_VHOST_USER_FS=y
CONFIG_VHOST_USER_SCSI=y
CONFIG_VHOST_USER_VSOCK=y
# Memory that is a file, DIMMs, the generation of a VM
CONFIG_NVDIMM=y
CONFIG_ACPI_VMGENID=y
# The host's own devices, and confidential guests
CONFIG_VFIO_PCI=y
CONFIG_VTD=y
CONFIG_SEV=y
CONFIG_SGX=y
# The guest tells that it panicked
CONFIG_PVPANIC_ISA=y
CONFIG_PVPANIC_PCI=y
# By which a guest under emulation is told that it is one (Linux brings no CPU online later otherwise)
CONFIG_VMPORT=y
# On by themselves, and nothing of Kata
CONFIG_HPET=n
CONFIG_HYPERV=n
CONFIG_ISA_DEBUG=n
