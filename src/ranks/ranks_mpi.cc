#include <mpi.h>

#include <boost/mpi/collectives.hpp>
#include <boost/mpi/communicator.hpp>
#include <boost/mpi/operations.hpp>
#include <string>

#include "halfsafe/error.h"
#include "ranks/launcher.h"
#include "ranks/ranks.h"

namespace halfsafe {
namespace {

/// Tables travel in their JSON form.
struct JoinTables {
  std::string operator()(const std::string& a, const std::string& b) const {
    return ToJson(MergeRanges({RangesFromJson(a, "a rank's ranges"), RangesFromJson(b, "a rank's ranges")}));
  }
};

class MpiRanks : public Ranks {
 public:
  MpiRanks() {
    MPI_Comm machine;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
    MPI_Comm_size(machine, &here_);
    MPI_Comm_free(&machine);
  }
  int rank() const override { return world_.rank(); }
  int size() const override { return world_.size(); }
  int here() const override { return here_; }

  std::optional<RangeTable> Join(const RangeTable& table) override {
    std::string joined;
    boost::mpi::reduce(world_, ToJson(table), joined, JoinTables(), 0);
    if (rank() != 0) return std::nullopt;
    return RangesFromJson(joined, "the ranks' ranges");
  }

  void Finish() override { MPI_Finalize(); }

 private:
  boost::mpi::communicator world_;
  int here_ = 1;
};

}  // namespace

std::unique_ptr<Ranks> ConnectRanks() {
  if (LaunchedRanks() < 2) return nullptr;
  MPI_Init(nullptr, nullptr);
  auto ranks = std::make_unique<MpiRanks>();
  if (ranks->size() > 1) return ranks;
  ranks->Finish();
  return nullptr;
}

}  // namespace halfsafe

/// Joining is associative and commutative: ranks may be joined in any order.
template <>
struct boost::mpi::is_commutative<halfsafe::JoinTables, std::string> : boost::mpl::true_ {};
